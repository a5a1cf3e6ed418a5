"""Runs an ONNX model in ONNX Runtime: onnx_runtime.py MODEL INPUT OUTPUT

MODEL must pass onnx's full check and have one input and one output of float32 with
static shapes. INPUT and OUTPUT are raw little-endian float32, row-major. Prints the
versions and shapes as one line of JSON. Exit code 77: a module is missing.
"""

import json
import sys

try:
    import numpy
    import onnx
    import onnxruntime
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(77)


def main(model_path: str, input_path: str, output_path: str) -> None:
    model = onnx.load(model_path)
    onnx.checker.check_model(model, full_check=True)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # Without VNNI, unsigned times signed bytes saturate in 16 bits unless this is set.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(
        model_path, options, providers=["CPUExecutionProvider"]
    )
    (source,) = session.get_inputs()
    (result,) = session.get_outputs()

    image = numpy.fromfile(input_path, dtype="<f4").reshape(source.shape)
    (values,) = session.run(None, {source.name: image})
    if list(values.shape) != result.shape:
        sys.exit(f"the model declares {result.shape} and made {values.shape}")
    values.astype("<f4").tofile(output_path)

    print(
        json.dumps(
            {
                "onnx": onnx.__version__,
                "onnxruntime": onnxruntime.__version__,
                "producer": model.producer_name,
                "opset": model.opset_import[0].version,
                "ir_version": model.ir_version,
                "input": {"name": source.name, "shape": source.shape},
                "output": {"name": result.name, "shape": result.shape},
                "metadata": {p.key: p.value for p in model.metadata_props},
            }
        )
    )


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
