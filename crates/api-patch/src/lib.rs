//! JSON patch, merge patch, strategic merge, server-side apply and managedFields. Knows no kind by name.
