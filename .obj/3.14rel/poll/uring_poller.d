.obj/3.14rel/poll/uring_poller.o: src/_fastaio/poll/uring_poller.c \
 src/_fastaio/poll/poller.h src/_fastaio/base/kernel.h \
 src/_fastaio/poll/uring_impl.h src/_fastaio/poll/uring.h \
 src/_fastaio/poll/uring_abi.h
src/_fastaio/poll/poller.h:
src/_fastaio/base/kernel.h:
src/_fastaio/poll/uring_impl.h:
src/_fastaio/poll/uring.h:
src/_fastaio/poll/uring_abi.h:
