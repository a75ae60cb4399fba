"""The run's report: one page for people, its pictures, and the best lap as files, made from the bucket alone."""
