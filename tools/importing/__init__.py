"""Importing files of rows into a ledger, through a mapping that says what each column means."""

from tools.importing.batch import BATCH_ROWS_MAX
from tools.importing.dates import Timeline
from tools.importing.errors import ImportingError, MappingError, SourceError
from tools.importing.importer import Importer, Options
from tools.importing.mapping import Mapping
from tools.importing.mapping_file import check_columns, read_mapping
from tools.importing.report import Outcome, Report, Tally
from tools.importing.rows import BadRow, Posting, RowReader, postings
from tools.importing.source import RawRow, Source
from tools.importing.target import DryTarget, LedgerTarget, Target

__all__ = [
    "BATCH_ROWS_MAX",
    "BadRow",
    "DryTarget",
    "Importer",
    "ImportingError",
    "LedgerTarget",
    "Mapping",
    "MappingError",
    "Options",
    "Outcome",
    "Posting",
    "RawRow",
    "Report",
    "RowReader",
    "Source",
    "SourceError",
    "Tally",
    "Target",
    "Timeline",
    "check_columns",
    "postings",
    "read_mapping",
]
