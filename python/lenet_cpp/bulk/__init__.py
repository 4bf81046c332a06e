"""Prediction for many images: pickled to workers, in parts, and on clusters."""
