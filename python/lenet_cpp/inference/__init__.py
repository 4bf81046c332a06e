"""Run models: predictors, the bundled model, engines, results and timings.

Their public names are in :mod:`lenet_cpp` itself.
"""
