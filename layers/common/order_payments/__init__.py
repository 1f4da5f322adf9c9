"""What the functions share: the order domain, its tables, Stripe, and the HTTP edge."""
