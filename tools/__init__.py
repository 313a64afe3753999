"""What people run: the command line, the server, importing, exporting, clusters, benchmarks."""
