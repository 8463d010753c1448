.obj/3.13rel/poll/uring.o: src/_fastaio/poll/uring.c \
 src/_fastaio/poll/uring_impl.h src/_fastaio/poll/uring.h \
 src/_fastaio/poll/uring_abi.h
src/_fastaio/poll/uring_impl.h:
src/_fastaio/poll/uring.h:
src/_fastaio/poll/uring_abi.h:
