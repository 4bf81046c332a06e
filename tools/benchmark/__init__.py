"""The benchmark: this package beside other ways to run the same network; docs/benchmark.md.

``cli`` is the command. ``speed``, ``compare`` and ``lifetime`` measure; what they return is what
``--json`` writes and what ``tables`` and ``plots`` render. ``contenders`` lists who takes part,
``engines`` how each runs the model, ``subject`` what they run, ``turns`` the processes.
"""
