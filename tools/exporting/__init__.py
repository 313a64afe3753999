"""Exporting a ledger's events to files that other programs read, and reading one of them back."""

from tools.exporting.errors import ExportDamaged, ExportingError, ExportUnfit
from tools.exporting.json_lines import export_json_lines
from tools.exporting.reimport import ImportedExport, import_export, is_export
from tools.exporting.selection import Exported, Selection
from tools.exporting.tables import export_csv, export_parquet

__all__ = [
    "ExportDamaged",
    "ExportUnfit",
    "Exported",
    "ExportingError",
    "ImportedExport",
    "Selection",
    "export_csv",
    "export_json_lines",
    "export_parquet",
    "import_export",
    "is_export",
]
