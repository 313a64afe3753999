"""Exporting a ledger's events to files that other programs read, and reading one of them back."""

from nostro.tools.exporting.errors import ExportDamaged, ExportingError, ExportUnfit
from nostro.tools.exporting.json_lines import export_json_lines
from nostro.tools.exporting.reimport import ImportedExport, import_export, is_export
from nostro.tools.exporting.selection import Exported, Selection
from nostro.tools.exporting.tables import export_csv, export_parquet

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
