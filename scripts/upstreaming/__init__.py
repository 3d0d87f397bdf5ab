"""What a pull request to transformers consists of: families as files of its source tree."""
