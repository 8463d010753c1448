.obj/3.13rel/files/file_now.o: src/_fastaio/files/file_now.c \
 src/_fastaio/files/file_now.h src/_fastaio/base/state.h \
 src/_fastaio/base/base_layout.h src/_fastaio/base/compat.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/Python.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/patchlevel.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/pyconfig.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/pymacconfig.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/pyport.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/exports.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/pymacro.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/pymath.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/pymem.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/pymem.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/pytypedefs.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/pybuffer.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/pystats.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/pyatomic.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/pyatomic.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/pyatomic_gcc.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/lock.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/lock.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/object.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/object.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/objimpl.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/objimpl.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/typeslots.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/pyhash.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/pyhash.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/pydebug.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/bytearrayobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/bytearrayobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/bytesobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/bytesobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/unicodeobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/unicodeobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/pyerrors.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/pyerrors.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/longobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/longobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/longintrepr.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/boolobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/floatobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/floatobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/complexobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/complexobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/rangeobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/memoryobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/memoryobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/tupleobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/tupleobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/listobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/listobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/dictobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/dictobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/odictobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/enumobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/setobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/setobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/methodobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/methodobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/moduleobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/monitoring.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/monitoring.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/funcobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/classobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/fileobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/fileobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/pycapsule.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/code.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/pyframe.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/pyframe.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/traceback.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/traceback.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/sliceobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/cellobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/iterobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/initconfig.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/pystate.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/pystate.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/genobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/descrobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/descrobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/genericaliasobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/warnings.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/warnings.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/weakrefobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/weakrefobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/structseq.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/picklebufobject.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/pytime.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/codecs.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/pythread.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/pythread.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/context.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/modsupport.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/modsupport.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/compile.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/compile.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/pythonrun.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/pythonrun.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/pylifecycle.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/pylifecycle.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/ceval.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/ceval.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/sysmodule.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/sysmodule.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/osmodule.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/intrcheck.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/import.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/import.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/abstract.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/abstract.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/bltinmodule.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/critical_section.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/critical_section.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/pyctype.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/pystrtod.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/pystrcmp.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/fileutils.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/fileutils.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/pyfpe.h \
 /root/.pyenv/versions/3.13.0/include/python3.13/cpython/tracemalloc.h \
 src/_fastaio/base/pool.h src/_fastaio/base/replaced.h
src/_fastaio/files/file_now.h:
src/_fastaio/base/state.h:
src/_fastaio/base/base_layout.h:
src/_fastaio/base/compat.h:
/root/.pyenv/versions/3.13.0/include/python3.13/Python.h:
/root/.pyenv/versions/3.13.0/include/python3.13/patchlevel.h:
/root/.pyenv/versions/3.13.0/include/python3.13/pyconfig.h:
/root/.pyenv/versions/3.13.0/include/python3.13/pymacconfig.h:
/root/.pyenv/versions/3.13.0/include/python3.13/pyport.h:
/root/.pyenv/versions/3.13.0/include/python3.13/exports.h:
/root/.pyenv/versions/3.13.0/include/python3.13/pymacro.h:
/root/.pyenv/versions/3.13.0/include/python3.13/pymath.h:
/root/.pyenv/versions/3.13.0/include/python3.13/pymem.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/pymem.h:
/root/.pyenv/versions/3.13.0/include/python3.13/pytypedefs.h:
/root/.pyenv/versions/3.13.0/include/python3.13/pybuffer.h:
/root/.pyenv/versions/3.13.0/include/python3.13/pystats.h:
/root/.pyenv/versions/3.13.0/include/python3.13/pyatomic.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/pyatomic.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/pyatomic_gcc.h:
/root/.pyenv/versions/3.13.0/include/python3.13/lock.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/lock.h:
/root/.pyenv/versions/3.13.0/include/python3.13/object.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/object.h:
/root/.pyenv/versions/3.13.0/include/python3.13/objimpl.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/objimpl.h:
/root/.pyenv/versions/3.13.0/include/python3.13/typeslots.h:
/root/.pyenv/versions/3.13.0/include/python3.13/pyhash.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/pyhash.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/pydebug.h:
/root/.pyenv/versions/3.13.0/include/python3.13/bytearrayobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/bytearrayobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/bytesobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/bytesobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/unicodeobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/unicodeobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/pyerrors.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/pyerrors.h:
/root/.pyenv/versions/3.13.0/include/python3.13/longobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/longobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/longintrepr.h:
/root/.pyenv/versions/3.13.0/include/python3.13/boolobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/floatobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/floatobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/complexobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/complexobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/rangeobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/memoryobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/memoryobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/tupleobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/tupleobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/listobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/listobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/dictobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/dictobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/odictobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/enumobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/setobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/setobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/methodobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/methodobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/moduleobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/monitoring.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/monitoring.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/funcobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/classobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/fileobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/fileobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/pycapsule.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/code.h:
/root/.pyenv/versions/3.13.0/include/python3.13/pyframe.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/pyframe.h:
/root/.pyenv/versions/3.13.0/include/python3.13/traceback.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/traceback.h:
/root/.pyenv/versions/3.13.0/include/python3.13/sliceobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/cellobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/iterobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/initconfig.h:
/root/.pyenv/versions/3.13.0/include/python3.13/pystate.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/pystate.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/genobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/descrobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/descrobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/genericaliasobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/warnings.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/warnings.h:
/root/.pyenv/versions/3.13.0/include/python3.13/weakrefobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/weakrefobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/structseq.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/picklebufobject.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/pytime.h:
/root/.pyenv/versions/3.13.0/include/python3.13/codecs.h:
/root/.pyenv/versions/3.13.0/include/python3.13/pythread.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/pythread.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/context.h:
/root/.pyenv/versions/3.13.0/include/python3.13/modsupport.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/modsupport.h:
/root/.pyenv/versions/3.13.0/include/python3.13/compile.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/compile.h:
/root/.pyenv/versions/3.13.0/include/python3.13/pythonrun.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/pythonrun.h:
/root/.pyenv/versions/3.13.0/include/python3.13/pylifecycle.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/pylifecycle.h:
/root/.pyenv/versions/3.13.0/include/python3.13/ceval.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/ceval.h:
/root/.pyenv/versions/3.13.0/include/python3.13/sysmodule.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/sysmodule.h:
/root/.pyenv/versions/3.13.0/include/python3.13/osmodule.h:
/root/.pyenv/versions/3.13.0/include/python3.13/intrcheck.h:
/root/.pyenv/versions/3.13.0/include/python3.13/import.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/import.h:
/root/.pyenv/versions/3.13.0/include/python3.13/abstract.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/abstract.h:
/root/.pyenv/versions/3.13.0/include/python3.13/bltinmodule.h:
/root/.pyenv/versions/3.13.0/include/python3.13/critical_section.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/critical_section.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/pyctype.h:
/root/.pyenv/versions/3.13.0/include/python3.13/pystrtod.h:
/root/.pyenv/versions/3.13.0/include/python3.13/pystrcmp.h:
/root/.pyenv/versions/3.13.0/include/python3.13/fileutils.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/fileutils.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/pyfpe.h:
/root/.pyenv/versions/3.13.0/include/python3.13/cpython/tracemalloc.h:
src/_fastaio/base/pool.h:
src/_fastaio/base/replaced.h:
