"""Importing files of rows into a ledger, through a mapping that says what each column means."""
