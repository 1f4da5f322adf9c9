"""Commands that check or repair a deployed stack."""
