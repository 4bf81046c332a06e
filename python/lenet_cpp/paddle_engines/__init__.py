"""The guides' ``InferenceEngine`` and AutoLog, and the engines of Paddle's Python package."""
