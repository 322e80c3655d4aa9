"""Public data sets: from their publishers' archives to tables under the data root."""
