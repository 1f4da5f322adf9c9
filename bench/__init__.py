"""What the service costs: time, requests, capacity and money, measured side by side in one run (`make bench`)."""
