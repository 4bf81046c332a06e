"""``lenet-cpp explain``: what each layer of a model costs in the native engine."""

from __future__ import annotations

from lenet_cpp._base.files import write_text
from lenet_cpp.cli._options import EXPORTED_MODEL, Options, command, open_predictor


@command(
    f"""{EXPORTED_MODEL}
Options:
  --batch-size  [default: 1]
  --runs RUNS  how many are measured; 0: as many as half a second allows [default: 0]
Engine:
  --threads
  --precision
Results:
  --json
  --trace FILE  also write a Chrome trace, for Perfetto or chrome://tracing
Examples:
  %prog inference_model/lenet  one image, in float32
  %prog inference_model/lenet_static-ptq --precision int8 --batch-size 64 --json
      a quantized model, and what a program can read
"""
)
def main(options: Options) -> int:
    """Profile a model: kernels, multiply-adds, bytes and times of each layer in the native engine.

    It is the profile of lenet-cpp benchmark --profile, for one batch size.
    """
    with open_predictor(options, "native", threads=options.threads) as predictor:
        profile = predictor.profile(options.batch_size, runs=options.runs)
    if options.trace is not None:
        write_text(options.trace, profile.trace)
    print(profile.json if options.json else profile.table.rstrip())
    return 0
