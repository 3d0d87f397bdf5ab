"""Which file a class belongs to, by its name."""

import re


_SUFFIXES = {
    "Config": "configuration",
    "Tokenizer": "tokenization",
    "Processor": "processing",
    "ProcessorKwargs": "processing",
    "VideosKwargs": "processing",
    "ImagesKwargs": "processing",
    "TextKwargs": "processing",
    "ImageProcessor": "image_processing",
    "ImageProcessorKwargs": "image_processing",
    "ImageProcessorPil": "image_processing_pil",
    "VideoProcessor": "video_processing",
    "VideoProcessorInitKwargs": "video_processing",
    "VideoProcessorKwargs": "video_processing",
    "FeatureExtractor": "feature_extraction",
}
_SUFFIX = re.compile("(?:" + "|".join(sorted(_SUFFIXES, key=len, reverse=True)) + ")$")


def file_type(class_name: str, model_cased: str) -> str:
    """The type of file that holds `class_name`; the longest suffix wins once the model's own name is taken away."""
    match = _SUFFIX.search(class_name.replace(model_cased, ""))
    return _SUFFIXES[match[0]] if match else "modeling"
