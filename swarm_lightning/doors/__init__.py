"""The only files that touch private, undocumented or version-dependent parts of other libraries; one per library."""
