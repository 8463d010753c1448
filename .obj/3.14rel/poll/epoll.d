.obj/3.14rel/poll/epoll.o: src/_fastaio/poll/epoll.c \
 src/_fastaio/poll/poller.h src/_fastaio/base/kernel.h
src/_fastaio/poll/poller.h:
src/_fastaio/base/kernel.h:
