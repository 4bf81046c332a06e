"""The engines that run a model by the Python package of Paddle."""
