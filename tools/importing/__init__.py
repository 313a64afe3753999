"""Importing files of rows into a ledger, through a mapping that says what each column means."""

from nostro.tools.importing.batch import BATCH_ROWS_MAX
from nostro.tools.importing.dates import Timeline
from nostro.tools.importing.errors import ImportingError, MappingError, SourceError
from nostro.tools.importing.importer import Importer, Options, Target
from nostro.tools.importing.mapping import Mapping
from nostro.tools.importing.mapping_file import check_columns, read_mapping
from nostro.tools.importing.report import Outcome, Report, Tally
from nostro.tools.importing.rows import BadRow, Posting, RowReader, postings
from nostro.tools.importing.source import RawRow, Source

__all__ = [
    "BATCH_ROWS_MAX",
    "BadRow",
    "Importer",
    "ImportingError",
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
