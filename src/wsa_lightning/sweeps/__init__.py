"""From a grid of options to finished runs. Starts the command line as a subprocess and reads its files."""
