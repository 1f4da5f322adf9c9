"""Commands of `./shop` for buyers and admins of the running stack."""
