"""Stage 6, surgery: decide every cut, check it, then edit a copy of the original ModelProto."""
