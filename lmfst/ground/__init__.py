"""What every other package stands on: errors, shared types, the cache folder, atomic files.

Nothing here knows of models, transducers or the command line. The modules are imported one by one,
since only some of them need numpy: `errors`, `types` (choices of options), `arrays`, `announce`
(warnings and word of long work), `atomic`, `cache`, `temporary`, `document`, `defaults`, and
`resources` (data that come with lmfst).
"""
