"""Commands of `./shop` with which a buyer or an admin uses the running stack."""
