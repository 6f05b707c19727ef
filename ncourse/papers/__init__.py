"""One module per paper: its special network, its bounds as functions, and its `experiment`."""
