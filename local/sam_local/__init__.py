"""`sam local`: the functions in containers, on the tables of the running stack."""
