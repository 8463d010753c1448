.obj/3.13rel/poll/epoll.o: src/_fastaio/poll/epoll.c \
 src/_fastaio/poll/poller.h
src/_fastaio/poll/poller.h:
