"""Run models: predictors, the bundled model, engines, results and timings.

The public names are those of :mod:`lenet_cpp` itself.
"""
