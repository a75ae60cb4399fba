"""Every name that processes share, said once: keys in the bucket, files of an instance, states, reasons, figures.

The shell code, the units and Terraform write the same names in languages of their own; a test holds them to these.
What is stored already goes by them: a name is added, never changed. All but endpoint.py needs only the standard
library, because the system's own Python reads it before an instance has its environment.
"""
