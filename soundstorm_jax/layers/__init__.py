"""Parts of networks that several systems are made of; they know no system."""
