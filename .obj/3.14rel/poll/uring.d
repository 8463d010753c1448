.obj/3.14rel/poll/uring.o: src/_fastaio/poll/uring.c \
 src/_fastaio/poll/uring_impl.h src/_fastaio/poll/uring.h \
 src/_fastaio/poll/uring_abi.h
src/_fastaio/poll/uring_impl.h:
src/_fastaio/poll/uring.h:
src/_fastaio/poll/uring_abi.h:
