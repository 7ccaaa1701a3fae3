"""The student of a finished run as a file that is used elsewhere."""

from fedkd.app.export._export import TOLERANCE, Exported, export_run
from fedkd.app.export._formats import FORMATS, require_extra
from fedkd.app.export._onnx import Session, int8_onnx, to_onnx

__all__ = [
    "FORMATS",
    "TOLERANCE",
    "Exported",
    "Session",
    "export_run",
    "int8_onnx",
    "require_extra",
    "to_onnx",
]
