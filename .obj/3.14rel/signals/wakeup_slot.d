.obj/3.14rel/signals/wakeup_slot.o: src/_fastaio/signals/wakeup_slot.c \
 src/_fastaio/base/compat.h /usr/include/python3.14/Python.h \
 /usr/include/python3.14/patchlevel.h /usr/include/python3.14/pyconfig.h \
 /usr/include/python3.14/pymacconfig.h /usr/include/python3.14/pyport.h \
 /usr/include/python3.14/exports.h /usr/include/python3.14/pymacro.h \
 /usr/include/python3.14/pymath.h /usr/include/python3.14/pymem.h \
 /usr/include/python3.14/cpython/pymem.h \
 /usr/include/python3.14/pytypedefs.h /usr/include/python3.14/pybuffer.h \
 /usr/include/python3.14/pystats.h /usr/include/python3.14/pyatomic.h \
 /usr/include/python3.14/cpython/pyatomic.h \
 /usr/include/python3.14/cpython/pyatomic_gcc.h \
 /usr/include/python3.14/lock.h /usr/include/python3.14/cpython/lock.h \
 /usr/include/python3.14/critical_section.h \
 /usr/include/python3.14/cpython/critical_section.h \
 /usr/include/python3.14/object.h \
 /usr/include/python3.14/cpython/object.h \
 /usr/include/python3.14/refcount.h /usr/include/python3.14/objimpl.h \
 /usr/include/python3.14/cpython/objimpl.h \
 /usr/include/python3.14/typeslots.h /usr/include/python3.14/pyhash.h \
 /usr/include/python3.14/cpython/pyhash.h \
 /usr/include/python3.14/cpython/pydebug.h \
 /usr/include/python3.14/bytearrayobject.h \
 /usr/include/python3.14/cpython/bytearrayobject.h \
 /usr/include/python3.14/bytesobject.h \
 /usr/include/python3.14/cpython/bytesobject.h \
 /usr/include/python3.14/unicodeobject.h \
 /usr/include/python3.14/cpython/unicodeobject.h \
 /usr/include/python3.14/pyerrors.h \
 /usr/include/python3.14/cpython/pyerrors.h \
 /usr/include/python3.14/longobject.h \
 /usr/include/python3.14/cpython/longobject.h \
 /usr/include/python3.14/cpython/longintrepr.h \
 /usr/include/python3.14/boolobject.h \
 /usr/include/python3.14/floatobject.h \
 /usr/include/python3.14/cpython/floatobject.h \
 /usr/include/python3.14/complexobject.h \
 /usr/include/python3.14/cpython/complexobject.h \
 /usr/include/python3.14/rangeobject.h \
 /usr/include/python3.14/memoryobject.h \
 /usr/include/python3.14/cpython/memoryobject.h \
 /usr/include/python3.14/tupleobject.h \
 /usr/include/python3.14/cpython/tupleobject.h \
 /usr/include/python3.14/listobject.h \
 /usr/include/python3.14/cpython/listobject.h \
 /usr/include/python3.14/dictobject.h \
 /usr/include/python3.14/cpython/dictobject.h \
 /usr/include/python3.14/cpython/odictobject.h \
 /usr/include/python3.14/enumobject.h /usr/include/python3.14/setobject.h \
 /usr/include/python3.14/cpython/setobject.h \
 /usr/include/python3.14/methodobject.h \
 /usr/include/python3.14/cpython/methodobject.h \
 /usr/include/python3.14/moduleobject.h \
 /usr/include/python3.14/monitoring.h \
 /usr/include/python3.14/cpython/monitoring.h \
 /usr/include/python3.14/cpython/funcobject.h \
 /usr/include/python3.14/cpython/classobject.h \
 /usr/include/python3.14/fileobject.h \
 /usr/include/python3.14/cpython/fileobject.h \
 /usr/include/python3.14/pycapsule.h \
 /usr/include/python3.14/cpython/code.h /usr/include/python3.14/pyframe.h \
 /usr/include/python3.14/cpython/pyframe.h \
 /usr/include/python3.14/traceback.h \
 /usr/include/python3.14/cpython/traceback.h \
 /usr/include/python3.14/sliceobject.h \
 /usr/include/python3.14/cpython/cellobject.h \
 /usr/include/python3.14/iterobject.h \
 /usr/include/python3.14/cpython/initconfig.h \
 /usr/include/python3.14/pystate.h \
 /usr/include/python3.14/cpython/pystate.h \
 /usr/include/python3.14/cpython/genobject.h \
 /usr/include/python3.14/descrobject.h \
 /usr/include/python3.14/cpython/descrobject.h \
 /usr/include/python3.14/genericaliasobject.h \
 /usr/include/python3.14/warnings.h \
 /usr/include/python3.14/cpython/warnings.h \
 /usr/include/python3.14/weakrefobject.h \
 /usr/include/python3.14/cpython/weakrefobject.h \
 /usr/include/python3.14/structseq.h \
 /usr/include/python3.14/cpython/picklebufobject.h \
 /usr/include/python3.14/cpython/pytime.h \
 /usr/include/python3.14/codecs.h /usr/include/python3.14/pythread.h \
 /usr/include/python3.14/cpython/pythread.h \
 /usr/include/python3.14/cpython/context.h \
 /usr/include/python3.14/modsupport.h \
 /usr/include/python3.14/cpython/modsupport.h \
 /usr/include/python3.14/compile.h \
 /usr/include/python3.14/cpython/compile.h \
 /usr/include/python3.14/pythonrun.h \
 /usr/include/python3.14/cpython/pythonrun.h \
 /usr/include/python3.14/pylifecycle.h \
 /usr/include/python3.14/cpython/pylifecycle.h \
 /usr/include/python3.14/ceval.h /usr/include/python3.14/cpython/ceval.h \
 /usr/include/python3.14/sysmodule.h /usr/include/python3.14/audit.h \
 /usr/include/python3.14/cpython/audit.h \
 /usr/include/python3.14/osmodule.h /usr/include/python3.14/intrcheck.h \
 /usr/include/python3.14/import.h \
 /usr/include/python3.14/cpython/import.h \
 /usr/include/python3.14/abstract.h \
 /usr/include/python3.14/cpython/abstract.h \
 /usr/include/python3.14/bltinmodule.h \
 /usr/include/python3.14/cpython/pyctype.h \
 /usr/include/python3.14/pystrtod.h /usr/include/python3.14/pystrcmp.h \
 /usr/include/python3.14/fileutils.h \
 /usr/include/python3.14/cpython/fileutils.h \
 /usr/include/python3.14/cpython/pyfpe.h \
 /usr/include/python3.14/cpython/tracemalloc.h \
 /usr/include/python3.14/internal/pycore_runtime.h \
 /usr/include/python3.14/internal/pycore_runtime_structs.h \
 /usr/include/python3.14/internal/pycore_interp_structs.h \
 /usr/include/python3.14/internal/pycore_ast_state.h \
 /usr/include/python3.14/internal/pycore_lock.h \
 /usr/include/python3.14/internal/pycore_llist.h \
 /usr/include/python3.14/internal/pycore_opcode_utils.h \
 /usr/include/python3.14/internal/pycore_pymath.h \
 /usr/include/python3.14/internal/pycore_structs.h \
 /usr/include/python3.14/internal/pycore_context.h \
 /usr/include/python3.14/internal/pycore_tstate.h \
 /usr/include/python3.14/internal/pycore_brc.h \
 /usr/include/python3.14/internal/pycore_object_stack.h \
 /usr/include/python3.14/internal/pycore_freelist_state.h \
 /usr/include/python3.14/internal/pycore_mimalloc.h \
 /usr/include/python3.14/internal/pycore_pymem.h \
 /usr/include/python3.14/internal/mimalloc/mimalloc.h \
 /usr/include/python3.14/internal/mimalloc/mimalloc/types.h \
 /usr/include/python3.14/internal/mimalloc/mimalloc/../mimalloc-stats.h \
 /usr/include/python3.14/internal/mimalloc/mimalloc/atomic.h \
 /usr/include/python3.14/internal/mimalloc/mimalloc/internal.h \
 /usr/include/python3.14/internal/mimalloc/mimalloc/track.h \
 /usr/include/python3.14/internal/pycore_qsbr.h \
 /usr/include/python3.14/internal/pycore_typedefs.h \
 /usr/include/python3.14/internal/pycore_gil.h \
 /usr/include/python3.14/internal/pycore_condvar.h \
 /usr/include/python3.14/internal/pycore_pythread.h \
 /usr/include/python3.14/dynamic_annotations.h \
 /usr/include/python3.14/internal/pycore_object_state.h \
 /usr/include/python3.14/internal/pycore_hashtable.h \
 /usr/include/python3.14/internal/pycore_crossinterp.h \
 /usr/include/python3.14/internal/pycore_pyerrors.h \
 /usr/include/python3.14/internal/pycore_crossinterp_data_registry.h \
 /usr/include/python3.14/internal/pycore_dict_state.h \
 /usr/include/python3.14/internal/pycore_exceptions.h \
 /usr/include/python3.14/internal/pycore_ucnhash.h \
 /usr/include/python3.14/internal/pycore_instruments.h \
 /usr/include/python3.14/internal/pycore_obmalloc.h \
 /usr/include/python3.14/internal/pycore_tracemalloc.h \
 /usr/include/python3.14/internal/pycore_interpframe_structs.h \
 /usr/include/python3.14/internal/pycore_debug_offsets.h \
 /usr/include/python3.14/internal/pycore_signal.h \
 /usr/include/python3.14/internal/pycore_faulthandler.h \
 /usr/include/python3.14/internal/pycore_ast.h \
 /usr/include/python3.14/internal/pycore_asdl.h \
 /usr/include/python3.14/internal/pycore_pyarena.h \
 /usr/include/python3.14/internal/pycore_global_strings.h \
 /usr/include/python3.14/internal/pycore_global_objects.h \
 src/_fastaio/signals/wakeup_slot.h
src/_fastaio/base/compat.h:
/usr/include/python3.14/Python.h:
/usr/include/python3.14/patchlevel.h:
/usr/include/python3.14/pyconfig.h:
/usr/include/python3.14/pymacconfig.h:
/usr/include/python3.14/pyport.h:
/usr/include/python3.14/exports.h:
/usr/include/python3.14/pymacro.h:
/usr/include/python3.14/pymath.h:
/usr/include/python3.14/pymem.h:
/usr/include/python3.14/cpython/pymem.h:
/usr/include/python3.14/pytypedefs.h:
/usr/include/python3.14/pybuffer.h:
/usr/include/python3.14/pystats.h:
/usr/include/python3.14/pyatomic.h:
/usr/include/python3.14/cpython/pyatomic.h:
/usr/include/python3.14/cpython/pyatomic_gcc.h:
/usr/include/python3.14/lock.h:
/usr/include/python3.14/cpython/lock.h:
/usr/include/python3.14/critical_section.h:
/usr/include/python3.14/cpython/critical_section.h:
/usr/include/python3.14/object.h:
/usr/include/python3.14/cpython/object.h:
/usr/include/python3.14/refcount.h:
/usr/include/python3.14/objimpl.h:
/usr/include/python3.14/cpython/objimpl.h:
/usr/include/python3.14/typeslots.h:
/usr/include/python3.14/pyhash.h:
/usr/include/python3.14/cpython/pyhash.h:
/usr/include/python3.14/cpython/pydebug.h:
/usr/include/python3.14/bytearrayobject.h:
/usr/include/python3.14/cpython/bytearrayobject.h:
/usr/include/python3.14/bytesobject.h:
/usr/include/python3.14/cpython/bytesobject.h:
/usr/include/python3.14/unicodeobject.h:
/usr/include/python3.14/cpython/unicodeobject.h:
/usr/include/python3.14/pyerrors.h:
/usr/include/python3.14/cpython/pyerrors.h:
/usr/include/python3.14/longobject.h:
/usr/include/python3.14/cpython/longobject.h:
/usr/include/python3.14/cpython/longintrepr.h:
/usr/include/python3.14/boolobject.h:
/usr/include/python3.14/floatobject.h:
/usr/include/python3.14/cpython/floatobject.h:
/usr/include/python3.14/complexobject.h:
/usr/include/python3.14/cpython/complexobject.h:
/usr/include/python3.14/rangeobject.h:
/usr/include/python3.14/memoryobject.h:
/usr/include/python3.14/cpython/memoryobject.h:
/usr/include/python3.14/tupleobject.h:
/usr/include/python3.14/cpython/tupleobject.h:
/usr/include/python3.14/listobject.h:
/usr/include/python3.14/cpython/listobject.h:
/usr/include/python3.14/dictobject.h:
/usr/include/python3.14/cpython/dictobject.h:
/usr/include/python3.14/cpython/odictobject.h:
/usr/include/python3.14/enumobject.h:
/usr/include/python3.14/setobject.h:
/usr/include/python3.14/cpython/setobject.h:
/usr/include/python3.14/methodobject.h:
/usr/include/python3.14/cpython/methodobject.h:
/usr/include/python3.14/moduleobject.h:
/usr/include/python3.14/monitoring.h:
/usr/include/python3.14/cpython/monitoring.h:
/usr/include/python3.14/cpython/funcobject.h:
/usr/include/python3.14/cpython/classobject.h:
/usr/include/python3.14/fileobject.h:
/usr/include/python3.14/cpython/fileobject.h:
/usr/include/python3.14/pycapsule.h:
/usr/include/python3.14/cpython/code.h:
/usr/include/python3.14/pyframe.h:
/usr/include/python3.14/cpython/pyframe.h:
/usr/include/python3.14/traceback.h:
/usr/include/python3.14/cpython/traceback.h:
/usr/include/python3.14/sliceobject.h:
/usr/include/python3.14/cpython/cellobject.h:
/usr/include/python3.14/iterobject.h:
/usr/include/python3.14/cpython/initconfig.h:
/usr/include/python3.14/pystate.h:
/usr/include/python3.14/cpython/pystate.h:
/usr/include/python3.14/cpython/genobject.h:
/usr/include/python3.14/descrobject.h:
/usr/include/python3.14/cpython/descrobject.h:
/usr/include/python3.14/genericaliasobject.h:
/usr/include/python3.14/warnings.h:
/usr/include/python3.14/cpython/warnings.h:
/usr/include/python3.14/weakrefobject.h:
/usr/include/python3.14/cpython/weakrefobject.h:
/usr/include/python3.14/structseq.h:
/usr/include/python3.14/cpython/picklebufobject.h:
/usr/include/python3.14/cpython/pytime.h:
/usr/include/python3.14/codecs.h:
/usr/include/python3.14/pythread.h:
/usr/include/python3.14/cpython/pythread.h:
/usr/include/python3.14/cpython/context.h:
/usr/include/python3.14/modsupport.h:
/usr/include/python3.14/cpython/modsupport.h:
/usr/include/python3.14/compile.h:
/usr/include/python3.14/cpython/compile.h:
/usr/include/python3.14/pythonrun.h:
/usr/include/python3.14/cpython/pythonrun.h:
/usr/include/python3.14/pylifecycle.h:
/usr/include/python3.14/cpython/pylifecycle.h:
/usr/include/python3.14/ceval.h:
/usr/include/python3.14/cpython/ceval.h:
/usr/include/python3.14/sysmodule.h:
/usr/include/python3.14/audit.h:
/usr/include/python3.14/cpython/audit.h:
/usr/include/python3.14/osmodule.h:
/usr/include/python3.14/intrcheck.h:
/usr/include/python3.14/import.h:
/usr/include/python3.14/cpython/import.h:
/usr/include/python3.14/abstract.h:
/usr/include/python3.14/cpython/abstract.h:
/usr/include/python3.14/bltinmodule.h:
/usr/include/python3.14/cpython/pyctype.h:
/usr/include/python3.14/pystrtod.h:
/usr/include/python3.14/pystrcmp.h:
/usr/include/python3.14/fileutils.h:
/usr/include/python3.14/cpython/fileutils.h:
/usr/include/python3.14/cpython/pyfpe.h:
/usr/include/python3.14/cpython/tracemalloc.h:
/usr/include/python3.14/internal/pycore_runtime.h:
/usr/include/python3.14/internal/pycore_runtime_structs.h:
/usr/include/python3.14/internal/pycore_interp_structs.h:
/usr/include/python3.14/internal/pycore_ast_state.h:
/usr/include/python3.14/internal/pycore_lock.h:
/usr/include/python3.14/internal/pycore_llist.h:
/usr/include/python3.14/internal/pycore_opcode_utils.h:
/usr/include/python3.14/internal/pycore_pymath.h:
/usr/include/python3.14/internal/pycore_structs.h:
/usr/include/python3.14/internal/pycore_context.h:
/usr/include/python3.14/internal/pycore_tstate.h:
/usr/include/python3.14/internal/pycore_brc.h:
/usr/include/python3.14/internal/pycore_object_stack.h:
/usr/include/python3.14/internal/pycore_freelist_state.h:
/usr/include/python3.14/internal/pycore_mimalloc.h:
/usr/include/python3.14/internal/pycore_pymem.h:
/usr/include/python3.14/internal/mimalloc/mimalloc.h:
/usr/include/python3.14/internal/mimalloc/mimalloc/types.h:
/usr/include/python3.14/internal/mimalloc/mimalloc/../mimalloc-stats.h:
/usr/include/python3.14/internal/mimalloc/mimalloc/atomic.h:
/usr/include/python3.14/internal/mimalloc/mimalloc/internal.h:
/usr/include/python3.14/internal/mimalloc/mimalloc/track.h:
/usr/include/python3.14/internal/pycore_qsbr.h:
/usr/include/python3.14/internal/pycore_typedefs.h:
/usr/include/python3.14/internal/pycore_gil.h:
/usr/include/python3.14/internal/pycore_condvar.h:
/usr/include/python3.14/internal/pycore_pythread.h:
/usr/include/python3.14/dynamic_annotations.h:
/usr/include/python3.14/internal/pycore_object_state.h:
/usr/include/python3.14/internal/pycore_hashtable.h:
/usr/include/python3.14/internal/pycore_crossinterp.h:
/usr/include/python3.14/internal/pycore_pyerrors.h:
/usr/include/python3.14/internal/pycore_crossinterp_data_registry.h:
/usr/include/python3.14/internal/pycore_dict_state.h:
/usr/include/python3.14/internal/pycore_exceptions.h:
/usr/include/python3.14/internal/pycore_ucnhash.h:
/usr/include/python3.14/internal/pycore_instruments.h:
/usr/include/python3.14/internal/pycore_obmalloc.h:
/usr/include/python3.14/internal/pycore_tracemalloc.h:
/usr/include/python3.14/internal/pycore_interpframe_structs.h:
/usr/include/python3.14/internal/pycore_debug_offsets.h:
/usr/include/python3.14/internal/pycore_signal.h:
/usr/include/python3.14/internal/pycore_faulthandler.h:
/usr/include/python3.14/internal/pycore_ast.h:
/usr/include/python3.14/internal/pycore_asdl.h:
/usr/include/python3.14/internal/pycore_pyarena.h:
/usr/include/python3.14/internal/pycore_global_strings.h:
/usr/include/python3.14/internal/pycore_global_objects.h:
src/_fastaio/signals/wakeup_slot.h:
