"""A trained network outside of the pipeline: on photographs, as an ONNX graph, and described for strangers."""
