"""Hotels: kept normalised in MongoDB, shown from Valkey alone."""
