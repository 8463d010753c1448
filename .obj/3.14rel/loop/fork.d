.obj/3.14rel/loop/fork.o: src/_fastaio/loop/fork.c \
 src/_fastaio/loop/fork.h src/_fastaio/loop/loop.h \
 src/_fastaio/base/args.h src/_fastaio/base/compat.h \
 /usr/include/python3.14/Python.h /usr/include/python3.14/patchlevel.h \
 /usr/include/python3.14/pyconfig.h /usr/include/python3.14/pymacconfig.h \
 /usr/include/python3.14/pyport.h /usr/include/python3.14/exports.h \
 /usr/include/python3.14/pymacro.h /usr/include/python3.14/pymath.h \
 /usr/include/python3.14/pymem.h /usr/include/python3.14/cpython/pymem.h \
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
 /usr/include/python3.14/cpython/tracemalloc.h src/_fastaio/base/state.h \
 src/_fastaio/base/base_layout.h src/_fastaio/base/pool.h \
 src/_fastaio/base/replaced.h src/_fastaio/loop/clock.h \
 src/_fastaio/loop/gil.h src/_fastaio/loop/handle_object.h \
 src/_fastaio/loop/keeper.h src/_fastaio/loop/flush.h \
 src/_fastaio/loop/metrics.h src/_fastaio/loop/ready.h \
 src/_fastaio/loop/spin.h src/_fastaio/loop/timers.h \
 src/_fastaio/poll/poller.h src/_fastaio/signals/signal_pipe.h
src/_fastaio/loop/fork.h:
src/_fastaio/loop/loop.h:
src/_fastaio/base/args.h:
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
src/_fastaio/base/state.h:
src/_fastaio/base/base_layout.h:
src/_fastaio/base/pool.h:
src/_fastaio/base/replaced.h:
src/_fastaio/loop/clock.h:
src/_fastaio/loop/gil.h:
src/_fastaio/loop/handle_object.h:
src/_fastaio/loop/keeper.h:
src/_fastaio/loop/flush.h:
src/_fastaio/loop/metrics.h:
src/_fastaio/loop/ready.h:
src/_fastaio/loop/spin.h:
src/_fastaio/loop/timers.h:
src/_fastaio/poll/poller.h:
src/_fastaio/signals/signal_pipe.h:
