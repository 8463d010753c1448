"""The work that is measured: one module per family of cells."""
