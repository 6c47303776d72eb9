"""Which recipe to pre-train by: variants tried on development data, the best confirmed on data not looked at before.

The roles of the data sets are fixed in `roles`; the variants are in `variants`, what they add to the package in
`levers`, what they are compared with in `simple`.
"""
