"""What a buyer or an admin does to the running stack: the commands of `./shop`."""
