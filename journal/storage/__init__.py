"""The operating system: files, locks, directories, watching, copying. No accounting here."""
