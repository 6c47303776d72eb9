"""Expression of all genes of a panel for each cell, read from a model's decoder, and scored on what was held out."""
