"""What people used before: the methods that networks are compared with."""
