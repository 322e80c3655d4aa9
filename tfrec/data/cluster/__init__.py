"""`prepare` by the workers of a cluster, through Apache Beam: the same data set from a log that no machine holds."""
