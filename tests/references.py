"""What judges the native engine on a network: itself without passes, and the plain program.

They share the reader and the shapes with it. What those get wrong, only another library finds.
"""

import lenet_cpp
from lenet_cpp.agreement import compare

REFERENCES = {
    "native without passes": {"engine": "native", "ir_optim": False},
    "plain": {"engine": "plain"},
}


def check_references(model, *params, images, found, plain=True, **options):
    """Compare the native engine's outputs for images, by name, with those of the references.

    Args:
        plain: Whether the plain program runs the model.
    """
    for name, reference in REFERENCES.items():
        if name == "plain" and not plain:
            continue
        with lenet_cpp.Predictor(model, *params, **reference, **options) as predictor:
            expected = predictor.run_outputs(images)
        assert expected.keys() == found.keys()
        for output, values in expected.items():
            said = compare(values, found[output], names=(name, f"output {output!r}"))
            assert said.agrees, said.mismatch
