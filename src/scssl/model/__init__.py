"""Models: the encoder with its gene panel, preprocessing and card; its folder, the hub, imports, capsules."""
