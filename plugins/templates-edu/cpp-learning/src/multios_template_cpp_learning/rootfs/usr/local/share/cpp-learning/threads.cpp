// Two threads count to a million each, into one number.
#include <iostream>
#include <mutex>
#include <thread>

int main() {
    constexpr int each = 1'000'000;
    long count = 0;
    std::mutex door;

    auto work = [&] {
        for (int i = 0; i < each; ++i) {
            std::lock_guard<std::mutex> inside(door);
            ++count;
        }
    };
    std::thread first(work), second(work);
    first.join();
    second.join();
    std::cout << count << " of " << 2 * each << "\n";
}
