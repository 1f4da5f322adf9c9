"""The web console and the API's documentation, which the local stack serves beside the API. Neither is deployed."""
