"""Safetensors in, bytes out. Nothing here knows a format or a family of models, or needs torch or transformers."""
